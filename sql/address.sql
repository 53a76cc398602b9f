--
-- What may be connected to: hooks.check_address(address), hooks.check_host(host)
-- (with the default settings: nothing allowed or denied beyond the table)
--

-- Public addresses
SELECT a AS address, hooks.check_address(a) AS refused
FROM unnest('{1.1.1.1,8.8.8.8,93.184.216.34,162.159.128.233,2606:4700:4700::1111,2001:4860:4860::8888,2a00:1450::1}'::inet[]) a;

-- Every denied range: its first and last address are refused, the addresses
-- next to it are not, unless another range begins there
SELECT r AS range, hooks.check_address(host(network(r))::inet) AS first, hooks.check_address(host(broadcast(r))::inet) AS last,
       before, hooks.check_address(before) AS before_refused, after, hooks.check_address(after) AS after_refused
FROM (VALUES
  ('0.0.0.0/8'::cidr,     NULL::inet,               '1.0.0.0'::inet),
  ('10.0.0.0/8',          '9.255.255.255',          '11.0.0.0'),
  ('100.64.0.0/10',       '100.63.255.255',         '100.128.0.0'),
  ('127.0.0.0/8',         '126.255.255.255',        '128.0.0.0'),
  ('169.254.0.0/16',      '169.253.255.255',        '169.255.0.0'),
  ('172.16.0.0/12',       '172.15.255.255',         '172.32.0.0'),
  ('192.0.0.0/24',        '191.255.255.255',        '192.0.1.0'),
  ('192.0.2.0/24',        '192.0.1.255',            '192.0.3.0'),
  ('192.31.196.0/24',     '192.31.195.255',         '192.31.197.0'),
  ('192.52.193.0/24',     '192.52.192.255',         '192.52.194.0'),
  ('192.88.99.0/24',      '192.88.98.255',          '192.88.100.0'),
  ('192.168.0.0/16',      '192.167.255.255',        '192.169.0.0'),
  ('192.175.48.0/24',     '192.175.47.255',         '192.175.49.0'),
  ('198.18.0.0/15',       '198.17.255.255',         '198.20.0.0'),
  ('198.51.100.0/24',     '198.51.99.255',          '198.51.101.0'),
  ('203.0.113.0/24',      '203.0.112.255',          '203.0.114.0'),
  ('224.0.0.0/4',         '223.255.255.255',        NULL),
  ('240.0.0.0/4',         NULL,                     NULL),
  ('168.63.129.16/32',    '168.63.129.15',          '168.63.129.17')
) v(r, before, after);
SELECT r AS range, hooks.check_address(host(network(r))::inet) AS first, hooks.check_address(host(broadcast(r))::inet) AS last,
       before, hooks.check_address(before) AS before_refused, after, hooks.check_address(after) AS after_refused
FROM (VALUES
  -- 2000::/3, the only open one, and what is closed in it
  ('2001::/23'::cidr,     '2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff'::inet, '2001:200::'::inet),
  ('2001:db8::/32',       '2001:db7:ffff:ffff:ffff:ffff:ffff:ffff', '2001:db9::'),
  ('2002::/16',           '2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '2003::'),
  ('2620:4f:8000::/48',   '2620:4f:7fff:ffff:ffff:ffff:ffff:ffff', '2620:4f:8001::'),
  ('3fff::/20',           '3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '3fff:1000::')
) v(r, before, after);
-- Everything else is closed; these have a reason of their own
SELECT r AS range, hooks.check_address(host(network(r))::inet) AS first, hooks.check_address(host(broadcast(r))::inet) AS last
FROM unnest('{::/128,::1/128,::ffff:0:0/96,64:ff9b::/96,64:ff9b:1::/48,100::/64,5f00::/16,fc00::/7,fe80::/10,fec0::/10,ff00::/8}'::cidr[]) r;
SELECT a AS address, hooks.check_address(a) AS refused
FROM unnest('{::2,::7f00:1,::8.8.8.8,::ffff:ffff,::1:0:0,::ffff:0:8.8.8.8,64:ff9a:ffff::,64:ff9b:2::,100:0:0:1::,1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff,2000::,3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff,4000::,5eff::1,5f01::1,8000::,e000::,fbff::,fe00::,fe7f::1}'::inet[]) a;

-- IPv4 inside IPv6 is no way around: mapped, compatible, NAT64, 6to4
SELECT a AS address, hooks.check_address(a) AS refused
FROM unnest('{::ffff:127.0.0.1,::ffff:7f00:1,::ffff:10.0.0.1,::ffff:169.254.169.254,::ffff:8.8.8.8,::127.0.0.1,::169.254.169.254,
              64:ff9b::127.0.0.1,64:ff9b::8.8.8.8,64:ff9b:1::10.0.0.1,2002:7f00:1::,2002:a00:1::1,2002:808:808::1}'::inet[]) a;
-- ISATAP: an interface id that tunnels to an IPv4 address
SELECT a AS address, hooks.check_address(a) AS refused
FROM unnest('{2a00:1450::5efe:127.0.0.1,2a00:1450::200:5efe:127.0.0.1,2a00:1450::5efe:10.0.0.1,2a00:1450::200:5efe:169.254.169.254,
              2a00:1450::5efe:8.8.8.8,2a00:1450::200:5efe:8.8.8.8,2a00:1450::100:5efe:127.0.0.1,2a00:1450::5eff:127.0.0.1,
              2a00:1450::1:0:5efe:127.0.0.1}'::inet[]) a;

-- The netmask of an inet does not matter
SELECT hooks.check_address('10.0.0.5/8') AS private, hooks.check_address('8.8.8.8/8') AS public, hooks.check_address(NULL) AS "null";

--
-- Names
--
SELECT h AS host, hooks.check_host(h) AS refused
FROM unnest(ARRAY[
  'example.org', 'EXAMPLE.ORG', 'example.org.', 'discord.com', 'a-b.c_d.example', 'xn--bcher-kva.example', 'bücher.example', '1.example', '1.2.3.example', 'example.123x',
  'localhost.example.org', 'local.example.org', 'internal.example', 'onion.example', 'mylocal.example', 'notlocalhost.org', 'foo.notlocal']) h;
-- only mean something on this machine or in its network
SELECT h AS host, hooks.check_host(h) AS refused
FROM unnest(ARRAY[
  'localhost', 'LOCALHOST', 'LocalHost', 'localhost.', 'a.localhost', 'a.b.localhost', 'A.LocalHost.', 'printer.local', 'Printer.LOCAL', 'printer.local.', 'a.b.local',
  'metadata.google.internal', 'metadata.google.internal.', 'x.INTERNAL', 'x.onion', 'X.Onion.', 'local', 'internal', 'onion', 'db', 'db.', 'DB', 'intranet', 'ip6-localhost',
  'face', 'x1', '0xg', '-']) h;
-- not names at all
SELECT h AS host, hooks.check_host(h) AS refused
FROM unnest(ARRAY['', '.', '..', '.local', 'a..local', 'localhost..', 'example..org', '.example.org', 'example.org..', 'a b.example', ' localhost', 'localhost ',
                  'localhost:80', 'foo.local:80', 'foo.local/', 'foo.local#', 'user@foo.local', 'foo%2elocal', '%31%32%37.0.0.1', E'foo.local\n', E'\tfoo.example',
                  '[localhost]', '[foo.local]', '[]', '[', ']', '[::1', '::1]', '[127.0.0.1]', ':::', '1:2', '*.example']) h;
SELECT hooks.check_host(repeat('a.', 126) || 'example') AS too_long, hooks.check_host(repeat('a.', 120) || 'example') AS long,
       hooks.check_host(NULL) AS "null";
-- IP addresses in any spelling are no names; they are judged when they are connected to
SELECT h AS host, hooks.check_host(h) AS refused
FROM unnest(ARRAY[
  '127.0.0.1', '8.8.8.8', '127.0.0.1.', '127.1', '127.0.1', '0x7f.1', '0X7F.0.0.1', '0x7f000001', '2130706433', '017700000001', '0177.0.0.1', '0', '0.0.0.0', '00', '1',
  '4294967295', '::1', '[::1]', '::', '[::]', '[::ffff:7f00:1]', '::ffff:127.0.0.1', '[::127.0.0.1]', '2606:4700::1111', '[FE80::1]', 'fe80::1%eth0', '[fe80::1%25eth0]']) h;
-- nor are numbers that are no address
SELECT h AS host, hooks.check_host(h) AS refused
FROM unnest(ARRAY['4294967296', '99999999999999999999', '08', '0x100000000', '256.256.256.256', '1.2.3.08', '1.2.3.4.5', 'example.1', 'example.0x1F', 'example.0x', 'example.1.',
  'example.1x', 'example.0xg']) h;
