"""Files and raw counts in, calibrated and measured images out."""
