"""The first cell of a notebook: `import flea_lab.view.notebook as flea` and `flea.setup()`."""

import plotly.io

from flea_lab.errors import ConfigError
from flea_lab.runs import watch_kernel


def setup() -> None:
    """Figures as data that the page draws, written by orjson (the same bytes on every machine), `%%signal`, and a
    watch over what is done outside of cells, so that a stored result can say it.

    `ConfigError` outside of IPython.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        raise ConfigError("notebook.setup() was called outside of a notebook")
    plotly.io.renderers.default = "plotly_mimetype"
    plotly.io.json.config.default_engine = "orjson"
    watch_kernel(shell)
    shell.extension_manager.load_extension("flea_lab.view.signal_magic")
