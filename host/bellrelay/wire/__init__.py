"""The one declaration of frames, messages and registers, shared by gateware, twin and host."""
