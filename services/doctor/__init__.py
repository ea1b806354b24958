"""What is wrong with a database, what comes of it, and the exact command or SQL that mends it."""

from pgcorpus.services.doctor.examine import examine, examine_async, findings_of
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity, worst

__all__ = ["Facts", "Finding", "Severity", "examine", "examine_async", "findings_of", "worst"]
