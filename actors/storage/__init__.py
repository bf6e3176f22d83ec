"""Where a run is kept: `storage.write(path, data)` does it on a disk and in a bucket."""

from actors.storage.protocol import storage

__all__ = ["storage"]
