# Every verb is a verb of `python -m compose.control`; make brings the environment for it first.
# `make` alone tells what there is.

SHELL := /bin/sh
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BOOTSTRAP := compose/control/bootstrap.sh
CONTROL := .venv/bin/python -m compose.control

# What was typed as NAME=VALUE behind `make scale`, without the variables that mean something else.
SCALED := $(filter-out $(foreach letter,A B C D E F G H I J K L M N O P Q R S T U V W X Y Z,$(letter)%),$(MAKEOVERRIDES))

.PHONY: help up down restart status files logs scale verify fanout balance audit replay replay-dead-letters groups reset-group certificates dead-letters replay-to-group clean formats test lint bench compare chaos requirements

help:
	@cat compose/control/help.txt

up down restart status files logs verify fanout balance audit replay replay-dead-letters groups reset-group certificates dead-letters replay-to-group clean formats:
	@$(BOOTSTRAP) auto
	@$(CONTROL) $@

scale:
	@$(BOOTSTRAP) auto
	@$(CONTROL) scale $(SCALED)

test lint bench compare chaos requirements:
	@$(BOOTSTRAP) dev
	@$(CONTROL) $@
