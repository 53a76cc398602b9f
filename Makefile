# hooks: user-defined automations for stream events, run by the database itself
#
#   make && make install          build and install (PG_CONFIG selects the server)
#   make installcheck             SQL and isolation tests, in a temporary server of their own; with
#                                 INSTANCE=running in one that runs, which has to preload the library
#   make dist                     hooks-VERSION.zip of what is committed
#   script/test                   every test

EXTENSION = hooks
MODULE_big = hooks
DATA = hooks--1.0.sql hooks--1.0--1.1.sql
PGFILEDESC = "hooks - automations for stream events"

OBJS = \
	src/account.o \
	src/action.o \
	src/action_chat.o \
	src/action_discord.o \
	src/action_email.o \
	src/action_webhook.o \
	src/address.o \
	src/answer.o \
	src/answer_json.o \
	src/arguments.o \
	src/aside.o \
	src/attempt.o \
	src/backlog.o \
	src/breaker.o \
	src/certificate.o \
	src/chat_gateway.o \
	src/chat_loop.o \
	src/chat_platform.o \
	src/chat_report.o \
	src/chat_text.o \
	src/check.o \
	src/commit.o \
	src/condition.o \
	src/condition_key.o \
	src/control.o \
	src/delivery.o \
	src/discord_embed.o \
	src/dispatch.o \
	src/drop.o \
	src/event.o \
	src/executor.o \
	src/expression.o \
	src/failure.o \
	src/field.o \
	src/filter.o \
	src/flood.o \
	src/functions.o \
	src/group.o \
	src/guard.o \
	src/health.o \
	src/hook.o \
	src/hook_stats.o \
	src/hooks.o \
	src/identity.o \
	src/instant.o \
	src/interest.o \
	src/intervene.o \
	src/launcher.o \
	src/leave.o \
	src/lifecycle.o \
	src/lint.o \
	src/listener.o \
	src/log.o \
	src/look.o \
	src/mail.o \
	src/mail_server.o \
	src/markdown.o \
	src/mistake.o \
	src/node.o \
	src/number.o \
	src/orphan.o \
	src/outbox.o \
	src/parking.o \
	src/posted.o \
	src/predicate.o \
	src/presence.o \
	src/private_file.o \
	src/queue.o \
	src/request.o \
	src/retry.o \
	src/schedule.o \
	src/seal.o \
	src/secret.o \
	src/shared.o \
	src/sign.o \
	src/smtp.o \
	src/sockets.o \
	src/tables.o \
	src/target.o \
	src/template.o \
	src/text.o \
	src/transport.o \
	src/transport_answer.o \
	src/transport_mail.o \
	src/trial.o \
	src/trigger.o \
	src/underway.o \
	src/update.o \
	src/url.o \
	src/utility.o \
	src/version.o \
	src/watch.o \
	src/worker.o

PKG_CONFIG ?= pkg-config
PG_CPPFLAGS = $(shell $(PKG_CONFIG) --cflags libcurl libutf8proc openssl)
SHLIB_LINK = $(shell $(PKG_CONFIG) --libs libcurl libutf8proc openssl)

# The names that others in the server can meet.
SHLIB_LINK += -Wl,--version-script=$(srcdir)/src/exports.map

# The SQL tests, each kind in a temporary server of its own, which preloads the
# library.
INSTANCE ?= temporary
temporary_regress_yes = --temp-config=$(srcdir)/test/regress.conf --temp-instance=./tmp_check
temporary_isolation_yes = --temp-config=$(srcdir)/test/isolation.conf --temp-instance=./tmp_check_iso
is_temporary = $(if $(filter temporary,$(INSTANCE)),yes)

REGRESS = setup adopt attach nodes condition condition_language template template_language address validation signature look discord
REGRESS_OPTS = $(temporary_regress_$(is_temporary)) --encoding=UTF8 --no-locale

ISOLATION = commit_order savepoint repeatable_read prepared cache rotation
ISOLATION_OPTS = $(temporary_isolation_$(is_temporary)) --inputdir=$(srcdir)/test --encoding=UTF8 --no-locale

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Warnings are errors in our own builds, not on an unknown compiler.
ifdef WERROR
override CFLAGS += -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers
endif

# Any of the headers changes all: the tree is small.
$(OBJS): $(wildcard $(srcdir)/src/*.h)

# Outside of the tree there is no folder for the objects yet.
$(OBJS) $(OBJS:.o=.bc): | $(CURDIR)/src
$(CURDIR)/src:
	mkdir -p $@

VERSION = $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(srcdir)/hooks.control)
dist:
	git -C $(srcdir) archive --format=zip --prefix=hooks-$(VERSION)/ \
		--output=$(CURDIR)/hooks-$(VERSION).zip HEAD
.PHONY: dist
