"""``python -m gemel.cli``."""

from gemel.cli import main

main()
