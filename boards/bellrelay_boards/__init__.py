"""Boards that the relay runs on: pins, clocks, links, and how a bitstream is made for each."""
