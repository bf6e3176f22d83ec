"""Drawing: from a prompt to a scene, and from a scene to pixels.

Invariant: `render` depends on its scene alone. The scene that `sample_scene` makes for a prompt
satisfies every fact of it by a clear margin; a malformed drawing all but the returned one.
"""

from __future__ import annotations

from policies.tiny.world.corruptions import sample_malformed
from policies.tiny.world.layout import sample_scene
from policies.tiny.world.painting import render

__all__ = ["render", "sample_malformed", "sample_scene"]
