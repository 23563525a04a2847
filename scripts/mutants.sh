#!/usr/bin/env bash
# Puts one mistake at a time into a copy of the sources, and sees whether the tests notice.
#
#   scripts/mutants.sh            all of mutants/*.list; hours on a slow machine
#   scripts/mutants.sh --check    only that every mutant still fits the sources
#   scripts/mutants.sh --only N   the mutants with these numbers (3 or 3,7,9), or whose name contains N
#   scripts/mutants.sh --from N   the mutants from number N on
#   scripts/mutants.sh --quick    with the tests of sync-core alone
#
# The copy is that of the last commit, in a temporary folder; MUTANTS_FOLDER names another, which is kept, and makes the
# next run quicker. A mutant is caught if a test fails, or if the tests do not end; one that does not compile is a fault
# of the list. The result is printed as a table, and the run fails if less than 95 of 100 are caught.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly LIMIT=95
readonly TIMEOUT=${MUTANTS_TIMEOUT:-240}

only='' check=false from=1 quick=false
while (($#)); do
  case $1 in
    --check) check=true ;;
    --quick) quick=true ;;
    --from) from=${2:?a number is needed}; shift ;;
    --only) only=${2:?a pattern is needed}; shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) echo "mutants: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done

# mutant FOLDER NUMBER: applies a mutant to the sources in FOLDER and prints "file<TAB>name". With NUMBER 0, checks that
# every mutant fits instead, changes nothing, and prints how many there are.
mutant() {
  perl - "$1" "$2" mutants/*.list <<'PERL'
use strict;
use warnings;
my ($folder, $wanted, @lists) = @ARGV;
my ($number, $faults, $name, $file, @old, @new) = (0, 0);

sub finish {
    return unless defined $file;
    $number++;
    my ($old, $new) = (join("", @old), join("", @new));
    if (!$wanted || $wanted == $number) {
        open my $in, '<', "$folder/$file" or die "mutants: $file: $!\n";
        my $text = do { local $/; <$in> };
        my $places = () = $text =~ /\Q$old\E/g;
        if ($places != 1) {
            print STDERR "mutants: number $number ($name) fits $places places of $file\n";
            $faults++;
        } elsif ($wanted) {
            $text =~ s/\Q$old\E/$new/;
            open my $out, '>', "$folder/$file" or die "mutants: $file: $!\n";
            print $out $text;
            print "$file\t$name\n";
        }
    }
    ($name, $file, @old, @new) = (undef, undef);
}

for my $list (@lists) {
    open my $in, '<', $list or die "mutants: $list: $!\n";
    while (<$in>) {
        if (/^#\s*$/) { }
        elsif (/^# (.*)/) { finish() if defined $file; $name = $1 }
        elsif (/^@ (.*)/) { $file = $1; @old = @new = () }
        elsif (/^- ?(.*)/s) { push @old, $1 if defined $file }
        elsif (/^\+ ?(.*)/s) { push @new, $1 if defined $file }
        elsif (/^\s*$/) { finish() }
        else { die "mutants: $list, line $.: no line of a mutant\n" }
    }
    finish();
}
print "$number\n" unless $wanted;
exit($faults ? 1 : 0);
PERL
}

count=$(mutant . 0)
if $check; then
  echo "$count mutants, and each fits the sources"
  exit 0
fi

folder=${MUTANTS_FOLDER:-$(mktemp -d)}
[[ -n ${MUTANTS_FOLDER:-} ]] || trap 'rm -rf "$folder"' EXIT
rm -rf "$folder/tree"
mkdir -p "$folder/tree"
commit=$(git rev-parse HEAD)
# The time of extraction, so that what a run before left is built anew.
git archive "$commit" | tar -xm -C "$folder/tree"
export CARGO_TARGET_DIR=$folder/target CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_TERM_COLOR=never

# suite ARGUMENTS...: builds and runs tests. Status 3: they do not compile.
suite() {
  cargo test -q "$@" --no-run || return 3
  # The tests of the compiler's messages have nothing to say here.
  timeout "$TIMEOUT" cargo test -q "$@" -- --skip derive_ui || return 1
}

# The suites that are to notice, quickest first.
suites() {
  cd "$folder/tree"
  suite -p sync-core --lib || return
  suite -p sync-core --test core || return
  $quick || suite -p sync-testkit --lib --tests
}

echo "the sources as they are must pass"
(suites) >"$folder/log" 2>&1 || { tail -40 "$folder/log"; exit 1; }

caught=0 survived=() broken=()
for ((number = from; number <= count; number++)); do
  IFS=$'\t' read -r file name < <(mutant "$folder/tree" "$number")
  if [[ -z $only || ",$only," == *",$number,"* || $name == *"$only"* ]]; then
    status=0
    (suites) >"$folder/log" 2>&1 || status=$?
    if ((status == 0)); then
      survived+=("$number $name")
      verdict=SURVIVED
    elif ((status == 3)); then
      broken+=("$number $name")
      verdict='DOES NOT COMPILE'
    else
      caught=$((caught + 1))
      # Of the tests that failed, one; a run that was ended had none to name.
      by=$(grep -m1 -oE "^---- [^ ]+" "$folder/log" | cut -c6- || true)
      verdict="caught by ${by:-the time limit}"
    fi
    printf '%3d | %-90s | %s\n' "$number" "$name" "$verdict"
  fi
  git show "$commit:$file" >"$folder/tree/$file"
done

total=$((caught + ${#survived[@]}))
printf 'survived: %s\n' "${survived[@]}"
printf 'does not compile: %s\n' "${broken[@]}"
echo "$caught of $total mutants caught"
((${#broken[@]} == 0 && total > 0 && caught * 100 >= total * LIMIT))
