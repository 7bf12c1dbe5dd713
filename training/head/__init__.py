"""ToolkenHead, its files on disk, and operations on saved heads."""
