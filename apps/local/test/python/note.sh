# note.sh NAME ENDING SECONDS: a command that writes down itself, in a file that no server knows, when it begins and when it ends, and
# whether another command of the same task is still alive when it begins.
#
# ENDING says how it ends: ok; fail; once (fails the first time); mended (fails until a file `mended` lies beside the diary);
# held (waits until that file is there, for a minute at most); memory=N (as if killed for lack of memory, until it was given N GiB).
mended=$(dirname "$DIARY")/mended
grep "^begin $1 " "$DIARY" 2>/dev/null | while read -r _ _ earlier _; do
  kill -0 "$earlier" 2>/dev/null && echo "overlap $1 $$ $earlier" >> "$DIARY"
done
echo "begin $1 $$ ${METERED_MEMORY:-} ${METERED_QUEUE:-}" >> "$DIARY"
sleep "$3"
code=0
case "$2" in
  ok) ;;
  once) [ "$(grep -c "^begin $1 " "$DIARY")" -gt 1 ] || code=3 ;;
  mended) [ -e "$mended" ] || code=3 ;;
  held)
    turns=0
    until [ -e "$mended" ] || [ "$turns" -ge 300 ]; do
      sleep 0.2
      turns=$((turns + 1))
    done
    ;;
  memory=*) [ "${METERED_MEMORY:-0}" -ge "${2#memory=}" ] || code=137 ;;
  *) code=3 ;;
esac
[ "$code" = 0 ] || echo "$1 ends with $code" >&2
echo "end $1 $$ $code" >> "$DIARY"
exit "$code"
