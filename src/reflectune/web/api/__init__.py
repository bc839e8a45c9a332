"""A server that speaks as OpenAI's does, in front of any model, and whose model reflects.

routes.py       what it answers to, as a router for any app and as an app of its own
completion.py   from a request to its answer
service.py      a model that answers within bounds
settings.py     the bounds
asked.py        what a client asks for; fields.py and messages.py read its parts
choice.py       one answer as clients read it
merged.py       several answers that come at once
passing.py      the model as one request sees it
schemas.py      the model as requests with a schema see it
admission.py    whose turn it is
body.py         the body of a request; outlet.py is what is sent back
problems.py     what goes wrong, with the status and in the shape that clients know
guard.py        keys, hosts and origins
metrics.py      what is counted
server.py       the process
"""

from __future__ import annotations

from reflectune.web.api.routes import create_api, router_of
from reflectune.web.api.service import Service
from reflectune.web.api.settings import Limits

__all__ = ["Limits", "Service", "create_api", "router_of"]
