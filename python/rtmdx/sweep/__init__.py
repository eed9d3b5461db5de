"""Sweeps: a study in many variants, run by any executor, kept in one store.

The wing bears the name of its main function, so it can be called: ``rtmdx.sweep(study, axes=..., store=...)`` is
`rtmdx.sweep.driver.sweep`, whichever of the two was loaded first.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from rtmdx.sweep.driver import sweep

        return sweep(*args, **options)


sys.modules[__name__].__class__ = _Callable
