"""What a calibration gains: ``run.py`` searches for a recall of .98, calibrated and at the default, in turn."""
