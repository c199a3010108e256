"""Files that root pulls belong to the folder's owner, as if the service itself had pulled them.

The kernel tells only a file's owner what of it is cached, without which no plan knows what a load will read.
"""

import os
from pathlib import Path


def give(path: Path, folder: Path) -> None:
    """Give a file to the owner of `folder`, where root does the pulling. Raises OSError."""
    if os.geteuid() != 0:
        return
    owner = folder.stat()
    if owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
