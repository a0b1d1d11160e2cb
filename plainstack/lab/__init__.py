"""The lab: real Debian hosts with systemd on this machine."""
