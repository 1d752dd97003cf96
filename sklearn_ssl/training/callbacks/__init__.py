"""skorch callbacks of the training loop: all that is not a training step."""

from sklearn_ssl.training.callbacks.checkpoint import Checkpoint
from sklearn_ssl.training.callbacks.diagnostics import Diagnostics, records
from sklearn_ssl.training.callbacks.epoch_task import EpochTask
from sklearn_ssl.training.callbacks.processes import AverageBuffers
from sklearn_ssl.training.callbacks.progress_bar import ProgressBar
from sklearn_ssl.training.callbacks.schedule import Schedule
from sklearn_ssl.training.callbacks.time_budget import TimeBudget, Trial
from sklearn_ssl.training.callbacks.users import StopTraining

__all__ = [
    "AverageBuffers",
    "Checkpoint",
    "Diagnostics",
    "EpochTask",
    "ProgressBar",
    "Schedule",
    "StopTraining",
    "TimeBudget",
    "Trial",
    "records",
]
