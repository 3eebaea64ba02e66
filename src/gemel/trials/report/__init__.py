"""The report of a trial: its tables, listings and figures; its protocol; its files for a submission; the trail of who made them."""

from gemel.trials.report.package import data_files, datasets, m5_folder, programs, rtf
from gemel.trials.report.protocol import protocol
from gemel.trials.report.tables import PlainTable
from gemel.trials.report.trail import Entry, appended, entries, verify_trail
from gemel.trials.report.view import TrialReport, report
from gemel.trials.report.wrong import adjusted_behaviour, borrowed_behaviour

__all__ = [
    "Entry",
    "PlainTable",
    "TrialReport",
    "adjusted_behaviour",
    "appended",
    "borrowed_behaviour",
    "data_files",
    "datasets",
    "entries",
    "m5_folder",
    "programs",
    "protocol",
    "report",
    "rtf",
    "verify_trail",
]
