"""SINK=alerts: rules over windows of event time, alarms to the log and to a webhook. docs/alerts.md explains it."""
