"""A kernel as a vectorbt indicator: `run` takes columns and products of parameters, the step is ours, to the bit."""

from typing import Any

import numpy as np

from flea_lab.signal.kernel import FIELDS, N_FIELDS, Floats, Kernel
from flea_lab.signal.ranges import ranges


def indicator(kernel: Kernel) -> Any:
    """The `vectorbt` indicator class of `kernel`: `run(close, ..., fast=[5, 9], slow=21, param_product=True)`.

    Its inputs are the fields of the bar that the kernel declares, in the order of a bar, its parameters the kernel's
    with their defaults, its outputs the kernel's and what it shows. NaN while it is not ready. A value out of range is
    refused with a `ConfigError`. For looking at: a sweep shares work between parameters, this does not.
    """
    import vectorbt

    fields = tuple(name for name in FIELDS if name in kernel.inputs + kernel.optional)
    known, outputs = ranges(kernel.params), kernel.outputs + kernel.shown

    def apply(*given: Any) -> tuple[Floats, ...]:
        columns, values = given[: len(fields)], given[len(fields) :]
        told = {one.name: getattr(v, "item", lambda v=v: v)() for one, v in zip(known, values, strict=True)}
        params = kernel.load(told, f"indicator {kernel.name}")
        out = [np.empty(columns[0].shape) for _ in outputs]
        for c in range(columns[0].shape[1]):
            bars = np.full((len(columns[0]), N_FIELDS), np.nan)
            for name, column in zip(fields, columns, strict=True):
                bars[:, FIELDS.index(name)] = column[:, c]
            found = kernel.fold(kernel.start(params), bars, params, outputs)
            for k in range(len(outputs)):
                out[k][:, c] = found[:, k]
        return tuple(out)

    factory = vectorbt.IndicatorFactory(
        class_name=kernel.name,
        short_name=kernel.name,
        input_names=list(fields),
        param_names=[one.name for one in known],
        output_names=list(outputs),
    )
    return factory.from_apply_func(apply, **{one.name: one.default for one in known})
