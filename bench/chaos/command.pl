# command.pl FOLDER TASK SECONDS FAILURES: the command of a task under fire. One process, so that whoever ends it ends all of it.
#
# It writes down itself, each line synced before it goes on, in a file that no service knows: `start`, `end` with its exit code, and `twice`
# when another command of the task is alive as it starts, which the kernel tells by a lock and no clock. The first FAILURES commands of a
# task fail. A line: WHAT TASK ATTEMPT SECONDS-OF-THE-MACHINE HOST CODE.
use strict;
use warnings;
use Fcntl qw(:flock);
use IO::Handle;

my ($folder, $task, $seconds, $failures) = @ARGV;
my $attempt = $ENV{JOBMON_TASK_INSTANCE_ID} // 0;
my $host    = $ENV{CHAOS_HOST}              // 'unknown';
open my $log, '>>', "$folder/executed.log" or die "executed.log: $!";

sub say_synced {
    my ($what, $code) = @_;
    open my $clock, '<', '/proc/uptime' or die "uptime: $!";
    my ($now) = split ' ', <$clock>;
    syswrite $log, "$what $task $attempt $now $host $code\n";
    $log->sync or die "sync: $!";
}

open my $lock, '>>', "$folder/lock-$task" or die "lock: $!";
say_synced('twice', 0) unless flock $lock, LOCK_EX | LOCK_NB;
say_synced('start', 0);
syswrite $lock, 'x';
select undef, undef, undef, $seconds;
my $code = -s $lock > $failures ? 0 : 1;
say_synced('end', $code);
exit $code;
