"""flea_lab: what you swept is what you reported is what trades."""

import sys

# jsonschema builds a parser for a URI format that no Jupyter schema uses; this saves 2 s in every process.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

__version__ = "0.1.0"
