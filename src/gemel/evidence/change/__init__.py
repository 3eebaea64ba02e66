"""What may change in a released twin: the plan, the gate, what is proposed of its class."""
