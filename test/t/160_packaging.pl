# What packagers do: other folders to build in and to install to, parallel make,
# nothing left behind, one version everywhere.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Cwd ();
use File::Find ();
use JSON::PP;

my $root = Cwd::getcwd();
my $dir = PostgreSQL::Test::Utils::tempdir();
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
my $log = "$dir/make.log";

# Files below a folder, by their names relative to it.
sub files
{
	my ($in) = @_;
	my @files;

	File::Find::find({ no_chdir => 1, wanted => sub { push @files, s{^\Q$in\E/}{}r if !-d } }, $in);
	return sort @files;
}

sub make
{
	my ($in, $name, @arguments) = @_;

	ok(system("cd '$in' && make " . join(' ', map { "'$_'" } @arguments) . " >'$log' 2>&1") == 0, $name)
	  or diag(slurp_file($log));
	return;
}

# Sources without anything that was built, and the build outside of them.

system("mkdir '$dir/source' '$dir/build' && cp -r Makefile hooks.control hooks--*.sql src sql expected test META.json '$dir/source' && "
	  . "rm -f '$dir/source'/src/*.o '$dir/source'/src/*.bc '$dir/source'/*.so") == 0 or die 'could not copy';
my @sources = files("$dir/source");
make("$dir/build", 'outside of the tree, four at a time', '-j4', '-f', "$dir/source/Makefile", "PG_CONFIG=$pg_config", 'with_llvm=no');
is_deeply([ files("$dir/source") ], \@sources, '... which stays as it is');
make("$dir/build", 'installed into another folder', '-f', "$dir/source/Makefile", "PG_CONFIG=$pg_config", 'with_llvm=no', "DESTDIR=$dir/root", 'install');

chomp(my $share = `'$pg_config' --sharedir`);
chomp(my $lib = `'$pg_config' --pkglibdir`);
my @scripts = map { s{.*/}{}r } glob 'hooks--*.sql';
is_deeply([ files("$dir/root") ],
	[ sort map { s{^/}{}r } "$lib/hooks.so", map { "$share/extension/$_" } 'hooks.control', @scripts ],
	'... what belongs there, and nothing else');

# A name that another library of the server has, too, would be taken for that one's.
my @names = map { (split)[-1] } split /\n/, `nm -D --defined-only '$dir/root$lib/hooks.so'`;
cmp_ok(scalar(grep { /^pg_finfo_hooks_/ } @names), '>', 30, 'the library shows the functions of its SQL');
is_deeply([ grep { !/^(pg_finfo_)?hooks_/ } @names ], [qw(Pg_magic_func _PG_init)], '... and no name that is not its own');

make("$dir/build", 'uninstalled', '-f', "$dir/source/Makefile", "PG_CONFIG=$pg_config", 'with_llvm=no', "DESTDIR=$dir/root", 'uninstall');
is_deeply([ files("$dir/root") ], [], '... nothing is left');
make("$dir/build", 'cleaned', '-f', "$dir/source/Makefile", "PG_CONFIG=$pg_config", 'with_llvm=no', 'clean');
is_deeply([ files("$dir/build") ], [], '... nothing is left there, either');

# One version.

my ($version) = slurp_file('hooks.control') =~ /^default_version = '([0-9.]+)'$/m;
ok($version, 'hooks.control has a version');
my ($library) = slurp_file('src/version.h') =~ /^#define HOOKS_VERSION "(.*)"$/m;
is($library, $version, 'src/version.h');
my $meta = decode_json(slurp_file('META.json'));
is($meta->{version}, "$version.0", 'META.json');
is($meta->{provides}{hooks}{version}, "$version.0", '... of what it provides');
ok(-e $meta->{provides}{hooks}{$_}, "... its $_") for 'file', 'docfile';
like($meta->{provides}{hooks}{file}, qr/--\Q$version\E\.sql$/, '... is the newest script');
like(slurp_file('debian/changelog'), qr/\Apgsql-hooks \(\Q$version\E\) /, 'debian/changelog');
like(slurp_file('CHANGELOG.md'), qr/\A# Changelog\n\n## \Q$version\E /, 'CHANGELOG.md');
my ($data) = slurp_file('Makefile') =~ /^DATA = (.*)$/m;
is_deeply([ sort split ' ', $data ], [ sort @scripts ], 'the Makefile installs every script');

# hooks.control says what PGXN and PostgreSQL expect; META.json what its specification demands.
my %control = slurp_file('hooks.control') =~ /^(\w+) = (.*)$/mg;
is_deeply([ sort keys %control ],
	[qw(comment default_version module_pathname relocatable requires schema superuser trusted)], 'what hooks.control says');
for my $key (qw(name version abstract maintainer license provides meta-spec))
{
	ok($meta->{$key}, "META.json has $key");
}

# A server without its headers is found out, though its makefiles are there: Debian has them in another package.
SKIP:
{
	skip 'script/bootstrap is not here', 2 unless -x "$root/script/bootstrap";
	mkdir "$dir/no_headers";
	append_to_file("$dir/pg_config", "#!/bin/sh\n" . <<"END");
[ "\$1" != --includedir-server ] || { echo '$dir/no_headers'; exit; }
exec '$pg_config' "\$\@"
END
	chmod 0755, "$dir/pg_config";
	my $status = system("PG_CONFIG='$dir/pg_config' CI= '$root/script/bootstrap' >'$log' 2>&1");
	isnt($status, 0, 'script/bootstrap refuses a server without headers');
	like(slurp_file($log), qr/PostgreSQL 15 or later, with its server headers/, '... and says so');
}

SKIP:
{
	skip 'this is no checkout', 1 unless -d "$root/.git" && system('git --version >/dev/null 2>&1') == 0;
	make($root, 'make dist', 'dist', "PG_CONFIG=$pg_config");
	unlink "hooks-$version.zip" or fail('... has written it');
}

done_testing();
