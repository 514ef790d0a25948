"""The stack: Compose files, the same topology as local processes, and the make verbs over both."""
