"""Progress bar."""

import math

from skorch.callbacks import Callback

from sklearn_ssl.data.batch import n_samples


class ProgressBar(Callback):
    """Progress bar over the samples of all epochs: samples per second, remaining time, loss."""

    def __init__(self, unit):
        self.unit, self.bar, self.n_samples = unit, None, None

    def on_train_begin(self, net, X=None, **kwargs):
        """Open the bar."""
        from tqdm.auto import tqdm

        total = math.ceil(min(net.budget.n_epochs, net.settings.max_epochs) * len(X))
        self.bar = tqdm(total=total, unit=self.unit, unit_scale=True)
        self.n_samples = len(X)

    def on_epoch_begin(self, net, **kwargs):
        """Start at the position of a checkpoint, not included in the rate."""
        steps = 0 if net.epoch is None else net.epoch.n_steps * net.epoch.batches.shape[1]
        n = (len(net.history) - 1) * self.n_samples + steps
        if n and not self.bar.n:
            self.bar.initial = self.bar.n = n
            self.bar.refresh()

    def on_batch_end(self, net, batch=None, **kwargs):
        """Advance by a batch; with a time limit, estimate the total from the elapsed share."""
        self.bar.update(n_samples(batch))
        if net.budget.is_timed(net):
            self.bar.total = max(self.bar.n, round(self.bar.n / net.progress))

    def on_epoch_end(self, net, **kwargs):
        """Show the loss of the epoch, and count samples that it left out."""
        if not net.budget.is_timed(net):
            self.bar.update(len(net.history) * self.n_samples - self.bar.n)
        self.bar.set_postfix(epoch=len(net.history), loss=net.history[-1, "train_loss"])

    def on_train_end(self, net, **kwargs):
        """Set the total to the final number, with a time limit."""
        if net.budget.is_timed(net):
            self.bar.total = self.bar.n
            self.bar.refresh()

    def close(self):
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
