"""What is wrong with a file of measurements: one line with the place and the way out."""


class MeasurementError(ValueError):
    """A file of measurements, predictions or a recipe that cannot be used; the message names the file and the column."""
