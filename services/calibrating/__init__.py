"""The recall of a collection's searches, measured on its own documents and stored for searches to choose by."""

from pgcorpus.services.calibrating.ladder import ALL_MODES, DEFAULT_MODES
from pgcorpus.services.calibrating.measuring import described
from pgcorpus.services.calibrating.pacing import Pace
from pgcorpus.services.calibrating.page import prepare_report, write_report
from pgcorpus.services.calibrating.questions import Question, read_questions
from pgcorpus.services.calibrating.reports import CalibrationReport, Measured, Progress, Surroundings
from pgcorpus.services.calibrating.run import calibrate
from pgcorpus.services.calibrating.wanted import MAX_SAMPLE, RATE, SAMPLE, TARGET, TIMEOUT, K, Wanted

__all__ = [
    "ALL_MODES",
    "DEFAULT_MODES",
    "MAX_SAMPLE",
    "RATE",
    "SAMPLE",
    "TARGET",
    "TIMEOUT",
    "CalibrationReport",
    "K",
    "Measured",
    "Pace",
    "Progress",
    "Question",
    "Surroundings",
    "Wanted",
    "calibrate",
    "described",
    "prepare_report",
    "read_questions",
    "write_report",
]
