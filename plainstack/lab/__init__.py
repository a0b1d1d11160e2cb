"""The lab: real Debian hosts with systemd, as containers on this machine."""
