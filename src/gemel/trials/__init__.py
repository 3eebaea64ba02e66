"""Many patients: designs, analyses, virtual cohorts. Its first part is the simulator of trials (:mod:`gemel.trials.simulate`)."""
