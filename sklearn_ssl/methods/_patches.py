"""What the methods share that need a vision transformer, because they remove patches of images."""

from sklearn_ssl.parameters import is_auto


class TakesPatches:
    """Mixin of methods for vision transformers on square images; ``backbone="auto"`` is one."""

    instead = None  # the method for other networks

    def _resolve_backbone(self, spec, device):
        if not is_auto(self.backbone):
            return super()._resolve_backbone(spec, device)
        _, height, width = spec.shape
        if height != width or not any(height % p == 0 for p in range(2, max(3, height // 8 + 1))):
            raise self._uncut((height, width), "2 pixels or more")
        return "small_vit"

    def _patch_side(self, encoder):
        """Return the side of the patches of an encoder; raise if it has none, or cuts none."""
        unit, sides = encoder.patch_size, encoder.in_shape[1:]
        if unit is None:
            raise ValueError(
                f"{type(self).__name__} needs a vision transformer, such as "
                f'backbone="small_vit" or "vit_b_16". For other networks use {self.instead}.'
            )
        if sides[0] != sides[1] or sides[0] % unit:
            raise self._uncut(sides, f"{unit} pixels")
        return unit

    def _uncut(self, sides, patches):
        """Return the error for images that cannot be cut into patches."""
        return ValueError(
            f"{type(self).__name__} cuts square images into patches of {patches}, and those of X "
            f"have {sides[0]} x {sides[1]} pixels. Resize them, such as by "
            f"input=Images(size={max(8, min(sides) // 8 * 8)}), or use {self.instead}."
        )
