"""Switching a collection's embedding model while an app serves from it."""

from pgcorpus.services.switching.comparing import Comparison, Measured
from pgcorpus.services.switching.flipping import HOLD, Flipped
from pgcorpus.services.switching.reports import (
    Filled,
    LateWrites,
    Progress,
    ShadowStatus,
    Stage,
    SwitchReport,
    SwitchStatus,
)
from pgcorpus.services.switching.switch import SAMPLE, ModelSwitch

__all__ = [
    "HOLD",
    "SAMPLE",
    "Comparison",
    "Filled",
    "Flipped",
    "LateWrites",
    "Measured",
    "ModelSwitch",
    "Progress",
    "ShadowStatus",
    "Stage",
    "SwitchReport",
    "SwitchStatus",
]
