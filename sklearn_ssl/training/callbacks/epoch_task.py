"""Callbacks of scikit-learn, which are called around each epoch."""

from skorch.callbacks import Callback

from sklearn_ssl.training.callbacks.users import StopTraining


class EpochTask(Callback):
    """Calls scikit-learn's callbacks, and stops training if one requests it.

    ``task`` is scikit-learn's context of the fit, ``given`` what its callbacks are called with, and
    ``finished(net)`` returns the fitted attributes as if training ended now.
    """

    def __init__(self, task, given, finished):
        self.task, self.given, self.finished = task, given, finished
        self.epoch, self.requested_stop = None, False

    def on_epoch_begin(self, net, **kwargs):
        """Begin the task of an epoch."""
        self.epoch = self.task.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.given)

    def on_epoch_end(self, net, **kwargs):
        """End the task."""
        epoch, self.epoch = self.epoch, None
        if epoch.call_on_fit_task_end(
            **self.given, reconstruction_attributes=lambda: self.finished(net)
        ):
            self.requested_stop = True
            raise StopTraining

    def on_train_end(self, net, **kwargs):
        """End the task of an epoch in which training was stopped."""
        if self.epoch is not None:
            self.on_epoch_end(net)
