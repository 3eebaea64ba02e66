"""Methods of inference, one per file; ``base.py`` says what each takes and gives."""
