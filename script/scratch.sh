# script/scratch.sh: a scratch folder with a copy of the checkout in it, and
# somebody without privileges to work there.  Sourced (by bash), not run.
#
#   root=...                  the checkout
#   scratch_begin NAME        makes the folder $scratch
#   scratch_copy              copies the checkout to $scratch/checkout
#   scratch_run COMMAND...    runs a command there and waits for it
#
# PostgreSQL refuses to run as root, so root works as "postgres" or "nobody".
# However the script ends, what was started from the folder ends too, and the
# folder goes, unless scratch_keep says that it is worth a look.  Nothing but
# the checkout itself is read, and nothing outside of the folder is written.
# shellcheck shell=bash disable=SC2154

scratch=
scratch_keep=
scratch_user=
scratch_child=

scratch_begin() {
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/hooks-$1.XXXXXX")
	trap scratch_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	mkdir "$scratch/tmp" "$scratch/checkout"
	chmod 755 "$scratch"

	[ "$(id -u)" = 0 ] || return 0
	scratch_user=postgres
	id "$scratch_user" >/dev/null 2>&1 || scratch_user=nobody
	if ! setpriv --reuid="$scratch_user" --clear-groups test -x "$scratch"; then
		echo "$0: user \"$scratch_user\" may not enter $scratch; set TMPDIR to a folder that everybody may enter" >&2
		exit 1
	fi
}

# What git knows of or has not been told to ignore; without git, all sources.
scratch_files() {
	git -c safe.directory='*' ls-files -coz --exclude-standard 2>/dev/null ||
		find . -name .git -prune -o \
			-type f ! -name '*.o' ! -name '*.bc' ! -name '*.so' -print0
}

scratch_copy() {
	(
		cd "$root" || exit
		# Files that were deleted and not committed are still listed.
		scratch_files | while IFS= read -r -d '' file; do
			[ ! -e "$file" ] || printf '%s\0' "$file"
		done | tar -cf - --null -T -
	) | tar -xf - -C "$scratch/checkout"
	[ -z "$scratch_user" ] || chown -R "$scratch_user" "$scratch"
}

# Runs in a session of its own, so that all of it can be ended, and without
# the settings that would lead it to other servers.
scratch_run() {
	local -a as=()
	local variable

	[ -z "$scratch_user" ] ||
		as=(setpriv "--reuid=$scratch_user" "--regid=$(id -g "$scratch_user")" --clear-groups)
	(
		cd "$scratch/checkout" || exit
		for variable in $(compgen -e PG); do
			[ "$variable" = PG_CONFIG ] || unset "$variable"
		done
		export HOME="$scratch" TMPDIR="$scratch/tmp" LC_ALL=C
		exec setsid "${as[@]}" "$@"
	) </dev/null &
	scratch_child=$!
	wait "$scratch_child"
}

# Every process of the command's session, and every one whose program lies in
# the folder: servers, which have sessions of their own, and the receiver.
scratch_processes() {
	local process stat

	for process in /proc/[0-9]*; do
		{ read -r stat <"$process/stat"; } 2>/dev/null || continue
		read -r _ _ _ stat _ <<<"${stat##*) }"
		if [ "$stat" = "$scratch_child" ]; then
			echo "${process#/proc/}"
			continue
		fi
		case $(readlink "$process/exe" 2>/dev/null) in
			"$scratch"/*) echo "${process#/proc/}" ;;
		esac
	done
}

scratch_end() {
	local status=$?
	local -a left
	local signal

	set +e
	trap '' INT TERM HUP PIPE
	for signal in TERM QUIT KILL; do
		for _ in {1..30}; do
			mapfile -t left < <(scratch_processes)
			[ "${#left[@]}" -gt 0 ] || break 2
			kill "-$signal" "${left[@]}" 2>/dev/null
			sleep 0.1
		done
	done
	if [ -n "$scratch_keep" ]; then
		echo "$0: what is left to look at is in $scratch" >&2
	else
		rm -rf "$scratch"
	fi
	exit "$status"
}
