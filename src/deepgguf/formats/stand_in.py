"""What downloads leave in place of a file, recognized by its first bytes."""

PREFIX_BYTES = 64  # enough to recognize either


def stand_in(prefix: bytes) -> tuple[str, str] | None:
    """(what it is, what to do) if a file that begins with `prefix` is not the file itself; None if it may be.

    A Git-LFS pointer (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md) is what `git clone` leaves without
    git-lfs; an HTML page is what a failed login or a wrong link leaves.
    """
    if prefix.startswith(b"version https://git-lfs"):
        return "a Git-LFS pointer, not the file itself", "run `git lfs pull` in the folder, or download the file again"
    if prefix.lstrip()[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML page, not the file itself", "download the file again"
    return None
