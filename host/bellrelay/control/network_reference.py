"""The reference page of a network's file, from the models that read it.

python -m bellrelay.control.network_reference > docs/reference/network-file.md
"""

from __future__ import annotations

import sys

from bellrelay.settings.reference import key_table

from .network_file import NetworkFile

__all__ = ["reference_page"]

_HEAD = """# A network: `bellrelay plan NETWORK.yaml`

```sh
bellrelay plan deploy/network.example.yaml
bellrelay plan deploy/network.example.yaml --json
bellrelay plan deploy/network.example.yaml --plot options.png
bellrelay plan deploy/network.example.yaml --timetable timetable.yaml
```

One file says which sites there are, which relays, what fibre joins them, which pairs of sites want
how much key, and what might be changed; an [example](../../deploy/network.example.yaml). `plan`
compares the network as it is with every option: key of each pair, cost, work of people, and what is
left when a relay is lost. All figures are a model's and say `"simulation": true`. A star is a
network with one relay. Pairs, their relays in order, and where each relay is reached are also what
endpoints with a primary and further relays go by, so one file serves for both.

An unknown key is an error, so is a value out of range, or a name that nothing bears: the line names
file, key, value and what is allowed; exit code 3. This page is made by
`python -m bellrelay.control.network_reference`.

## What is computed

- **Key of a link**: two sites that reach the same relay. The closed forms of
  [`keyrate`](keyrate.md), with the bounds on finite blocks that endpoints use, of `finite.pulses`
  pairs. Both senders take `senders.ladder`, with the guards (`deviation`, `vacuum_limit`) that
  endpoints declare; on arms that differ, also with decoys that arrive equally strong at the relay,
  whichever gives more. `--optimise` looks for the best ladders of every link. A block takes as
  long as its pulses, divided by the share of time that its pair has: `block_s` is that of a pair
  served alone.
- **Time**. A relay serves one pair at a time, and a sender sends to one relay at a time. Where a
  relay may serve several, every one costs `settle_s` of each `turn_s`: switching, re-synchronising,
  to the first slot.
- **Fair shares** are max-min: the share of its demand that the worst served pair gets is as large
  as it can be; with that kept, the next worst; nobody gets more than its demand. Of all such
  schedules it is the one that takes least time. `relays` in the JSON tells every relay's shares.
- **A timetable** (`--timetable`) says when: windows of every hop in a frame as long as the longest
  `turn_s`, for the endpoints' `timetable` key ([several relays](../how-to/several-relays.md)). The
  longest window is placed first, each where relay and both senders are free; where that leaves
  some over, who can be served side by side is, for the least time in all. What then does not fit
  shortens all alike: `timetable.scale` in the JSON. Time that a relay has left is for pairs that
  would come to it if another were lost.
- **Relays of a pair**. With `pairs[].relays` the pair goes to the first of them that is there and
  gives key; the others wait. Without, it goes to any that both sites reach, and the plan divides.
- **Trusted nodes**. Where a pair names no relays, key may also go over sites with `trusted: true`:
  every hop is a link as above, and the site in between reads what it passes on. Nothing but MDI
  links is modelled; a relay is never trusted.
- **Loss of a relay**: the fair schedule of what is left, for every relay. What an endpoint keeps in
  its store until then is not counted.
- **Cost** is that of everything in the network, what is there already included, so that options
  compare: prices once, the rest per year, hours of work times `costs.hour`; `per_year` spreads the
  prices over `costs.years`. **Work** is the sum of all `hours_per_month`. Key for authentication,
  1e3 to 1e4 bits a block, is not subtracted.

## Keys

"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + key_table(NetworkFile)


if __name__ == "__main__":
    sys.stdout.write(reference_page())
