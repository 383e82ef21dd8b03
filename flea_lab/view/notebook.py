"""The first cell of a notebook: `import flea_lab.view.notebook as flea` and `flea.setup()`."""

import plotly.io

from flea_lab.errors import ConfigError


def setup() -> None:
    """Figures as data that the page draws, written by orjson (the same bytes on every machine), and `%%signal`.

    `ConfigError` outside of IPython.
    """
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        raise ConfigError("notebook.setup() was called outside of a notebook")
    plotly.io.renderers.default = "plotly_mimetype"
    plotly.io.json.config.default_engine = "orjson"
    shell.extension_manager.load_extension("flea_lab.view.signal_magic")
