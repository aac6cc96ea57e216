"""The end of a gameday: applications fetch all key that both KMEs have, and it is compared."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import aiohttp

from bellrelay.cli.gameday_files import APPS, GamedayFiles
from bellrelay.cli.run_endpoints import ROLES
from bellrelay.cli.run_processes import RunFailed
from bellrelay.service.tls import client_context

__all__ = ["KEY_BITS", "deliver_everything"]

KEY_BITS = 256
"""Of every key: what blocks are cut into."""
_AT_ONCE = 32
_TOLD_S = 10.0


def deliver_everything(files: GamedayFiles, least: int = 0) -> dict[str, Any]:
    """Fetch all key of both sides, each key first where it is free, then at the other KME.

    What the other KME has not been told of yet is not free: until there are so many keys as were
    finished, or for some seconds, it is asked again.

    Returns number of keys, their bits, whether all were the same on both sides, and whether none
    came twice: no name twice, and none that was fetched could be fetched again.

    Raises
    ------
    RunFailed
        A KME does not answer.
    """
    return asyncio.run(_everything(files, least))


async def _everything(files: GamedayFiles, least: int) -> dict[str, Any]:
    end = time.monotonic() + _TOLD_S
    names: list[str] = []
    equal = once = True
    async with contextlib.AsyncExitStack() as stack:
        sessions = {role: await stack.enter_async_context(_session(files, role)) for role in ROLES}

        async def ask(role: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            return await _ask(sessions[role], files, role, path, body)

        while True:
            for role, peer in (ROLES, ROLES[::-1]):
                while True:
                    wish = {"size": KEY_BITS, "number": _AT_ONCE}
                    status, told = await ask(role, f"{APPS[peer]}/enc_keys", wish)
                    if status != 200 and wish["number"] > 1:
                        wish["number"] = 1
                        status, told = await ask(role, f"{APPS[peer]}/enc_keys", wish)
                    if status != 200:
                        break
                    mine = {key["key_ID"]: key["key"] for key in told["keys"]}
                    wanted = {"key_IDs": [{"key_ID": name} for name in mine]}
                    status, told = await ask(peer, f"{APPS[role]}/dec_keys", wanted)
                    theirs = {k["key_ID"]: k["key"] for k in told["keys"]} if status == 200 else {}
                    equal &= mine == theirs
                    names += list(mine)
                    again = {"key_IDs": wanted["key_IDs"][:1]}
                    status, _ = await ask(peer, f"{APPS[role]}/dec_keys", again)
                    once &= status != 200
            if len(names) >= least or time.monotonic() > end:
                break
            await asyncio.sleep(0.2)
    once &= len(set(names)) == len(names)
    return {"keys": len(names), "bits": KEY_BITS * len(names), "equal": equal, "once": once}


def _session(files: GamedayFiles, role: str) -> aiohttp.ClientSession:
    """Of the application at this side's KME."""
    own, name = files.folder, APPS[role]
    context = client_context(own / f"{name}.crt", own / f"{name}.key", own / "ca.crt")
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))


async def _ask(
    session: aiohttp.ClientSession, files: GamedayFiles, role: str, path: str, body: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    url = f"https://127.0.0.1:{files.kme_ports[role]}/api/v1/keys/{path}"
    try:
        async with session.post(url, json=body, server_hostname=f"kme-{role}") as answer:
            told: dict[str, Any] = await answer.json()
            return answer.status, told
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise RunFailed(f"{role}'s KME does not answer: {type(error).__name__}") from error
