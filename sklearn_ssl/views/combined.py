"""Views of several recipes, concatenated."""

from dataclasses import dataclass, replace

from sklearn_ssl.parameters import recipe
from sklearn_ssl.views.drawn import Drawn, ViewRecipe
from sklearn_ssl.views.image import ImageViews


@recipe
class CombinedViews(ViewRecipe):
    """The views of several recipes, one after the other.

    Use it if the views of a sample should have different augmentations: two global views and some
    local crops, or one view with blur and one without.

    Parameters
    ----------
    recipes : tuple of view recipes
        Recipes of this package, all for images, for tabular data or for texts, in the order of
        their views.

    Examples
    --------
    >>> import torch
    >>> from sklearn_ssl.views import CombinedViews, ImageViews
    >>> small = ImageViews(size=0.5, scale=(0.1, 0.4), n_views=4)
    >>> views = CombinedViews((ImageViews(), small))(torch.rand(8, 3, 32, 32))
    >>> [view.shape[2] for view in views]
    [32, 32, 16, 16, 16, 16]
    """

    recipes: tuple

    def __post_init__(self):
        several = isinstance(self.recipes, tuple | list)
        kinds = (
            {None if isinstance(r, type) else getattr(r, "kind", None) for r in self.recipes}
            if several
            else set()
        )
        if len(kinds) != 1 or None in kinds:
            raise ValueError(
                "recipes must be a tuple of view recipes, all for images, for tabular data or for "
                "texts. "
                f"Got {self.recipes!r} instead."
            )

    @property
    def kind(self):
        """Whether the recipes are for "image", "table" or "text"."""
        return self.recipes[0].kind

    def for_images(self, height, width, channels):
        """Return the recipes for images of this shape, with every "auto" resolved."""
        shape = height, width, channels
        recipes = (r.for_images(*shape) if hasattr(r, "for_images") else r for r in self.recipes)
        return replace(self, recipes=tuple(recipes))

    @property
    def uses_pool(self):
        """Whether a recipe makes the views of a sample of others."""
        return any(getattr(recipe, "uses_pool", False) for recipe in self.recipes)

    def draw(self, n, shape, *, device, generator=None):
        """Draw the random values of the views of all recipes, for n samples."""
        random = {"device": device, "generator": generator}
        return CombinedDraws(tuple(recipe.draw(n, shape, **random) for recipe in self.recipes))

    def apply(self, batch, drawn, pool=None):
        """Return the views of a batch, ordered by recipe."""
        pairs = zip(self.recipes, drawn.parts, strict=True)
        return [view for recipe, part in pairs for view in recipe.apply(batch, part, pool)]

    def __call__(self, batch):
        """Return the views of a batch, ordered by recipe."""
        return [view for recipe in self.recipes for view in recipe(batch)]


@dataclass(frozen=True, eq=False)
class CombinedDraws(Drawn):
    """Random values of the views of several recipes."""

    parts: tuple

    def geometries(self):
        """Return the geometry of each view."""
        return [geometry for part in self.parts for geometry in part.geometries()]


def all_flip(views):
    """Return whether all views of a recipe are known to have horizontal flips."""
    if isinstance(views, CombinedViews):
        return all(map(all_flip, views.recipes))
    return isinstance(views, ImageViews) and views.hflip > 0
