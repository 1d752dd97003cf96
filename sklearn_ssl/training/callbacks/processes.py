"""What several processes that train together do at the end of an epoch."""

from skorch.callbacks import Callback

from sklearn_ssl._runtime.world import world


class AverageBuffers(Callback):
    """Averages the statistics of batch norms, which each process has of its share."""

    def on_epoch_end(self, net, **kwargs):
        """Average them."""
        buffers = net.objective.buffers()
        world().average_([buffer for buffer in buffers if buffer.is_floating_point()])

    def on_train_end(self, net, **kwargs):
        """Average those of an epoch in which training was stopped."""
        self.on_epoch_end(net)
