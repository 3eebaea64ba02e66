"""Names that tests of the command line share."""

FIRST = "simulated-00000000"
