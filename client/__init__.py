"""Client and AsyncClient: start runs and look at them, from anywhere.

`wf.client()` answers the ambient client; `wf.client` is also this package: the module can be
called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    def __call__(self) -> Any:
        from wf.client.ambient import client

        return client()


sys.modules[__name__].__class__ = _CallablePackage
