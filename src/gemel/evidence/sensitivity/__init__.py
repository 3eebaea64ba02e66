"""Which inputs decide: Sobol indices, Morris screening, Shapley effects, polynomial chaos."""
