"""The certificate that clients are shown. Pure: facts in, findings out."""

import shlex
from collections.abc import Iterator

from edged.doctor.facts import CertificateFacts, Finding

_SOON_S = 14 * 24 * 3600  # two weeks: those who renew by themselves do so a month before the end
_RELOAD = "sudo edged reload  # when both files are renewed"


def certificate(found: CertificateFacts | None, now_s: float) -> Iterator[Finding]:
    """Files that cannot be used, an end that is near or past, and a key that is everybody's."""
    if found is None:
        return
    if found.hidden:
        yield Finding(
            check="certificate",
            level="unknown",
            what=f"{found.key} is not for this user to read, so the certificate could not be tried",
            cost="unknown",
            fix=("sudo edged doctor",),
        )
    elif found.wrong is not None:
        yield Finding(
            check="certificate", level="problem", what=found.wrong, cost="edged does not start with it"
        )
    elif found.fault is not None:
        yield Finding(
            check="certificate",
            level="problem",
            what=f"{found.certificate} is refused by clients: {found.fault}",
            cost="every request over HTTPS",
            fix=(_RELOAD,),
        )
    elif found.valid_until_s is not None and found.valid_until_s - now_s < _SOON_S:
        days = int((found.valid_until_s - now_s) // (24 * 3600))
        yield Finding(
            check="certificate",
            level="hint",
            what=f"{found.certificate} ends in {days} days",
            cost="every request over HTTPS from then on",
            fix=(_RELOAD,),
        )
    if found.exposed:
        yield Finding(
            check="certificate",
            level="problem",
            what=f"{found.key} can be read by everybody on this machine, who can then pass for it",
            cost="no time",
            fix=(f"sudo chmod o-r {shlex.quote(found.key)}",),
        )
