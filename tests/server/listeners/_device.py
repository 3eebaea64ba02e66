"""A device in a process of its own."""

import subprocess
import sys
from pathlib import Path

PROVIDER = Path(__file__).parents[2] / "_sdc_provider.py"


class Device:
    """A provider process."""

    def __init__(self, place, epr):
        self.process = subprocess.Popen(
            [sys.executable, str(PROVIDER), str(place), epr], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("up")

    def tell(self, line):
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().startswith("done")

    def kill(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
