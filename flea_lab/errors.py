"""Errors by whose fault they are. Refusing an order is not an error: it is a message (`model.trading.Refused`)."""


class FleaError(Exception):
    """Every error that flea_lab raises on purpose; its text is one line naming the value, the limit and the place."""


class ConfigError(FleaError):
    """A configuration that cannot be: a typo, a value out of range, two values that exclude each other."""


class DataError(FleaError):
    """Data that cannot be vouched for: unordered, duplicate, missing, impossible or unreadable."""


class WorkspaceError(FleaError):
    """A workspace that cannot be read or written: permission, full disk, a run folder without its manifest."""


class PromotionError(FleaError):
    """A run that may not trade yet, or a promotion that no longer holds: its config or the code is another by now."""


class KernelError(FleaError):
    """A signal kernel that breaks the law of `flea_lab.testing.check_kernel`, or cannot be compiled."""


class VenueError(FleaError):
    """Theirs: the venue said or did something its contract excludes."""


class VenueRefusal(VenueError):
    """Theirs, and final: a key, a permission or a dialect that the venue does not take. Nothing asked for was done."""


class IllegalTransition(FleaError):
    """Ours: an order was told of an event that its lifecycle table does not hold."""
