"""Configuration: file, environment and flags, merged into :class:`mbk.config.schema.Settings`."""
