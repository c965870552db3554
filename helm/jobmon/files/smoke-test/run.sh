# Runs the six tasks of tasks.yaml with an agent of its own; exit code 0 only when all are done. JOBMON__HTTP__SERVICE_URL says where the api is,
# FILES where this file is, TOKEN_FILE what holds the token when JOBMON__HTTP__TOKEN does not.
set -eu
if [ -n "${TOKEN_FILE:-}" ]; then
  JOBMON__HTTP__TOKEN=$(cat "$TOKEN_FILE")
  export JOBMON__HTTP__TOKEN
fi
state=$(mktemp -d)
jobmon agent --cluster multiprocess --cores 2 --memory 256M --state "$state" &
agent=$!
code=0
timeout "${SECONDS_MAX:-600}" jobmon run "$FILES/tasks.yaml" || code=$?
kill "$agent" 2>/dev/null || true
wait "$agent" || true
rm -rf "$state"
if [ "$code" = 0 ]; then
  echo 'The six tasks are done.'
else
  echo "The six tasks are not done (exit code $code)." >&2
fi
exit "$code"
