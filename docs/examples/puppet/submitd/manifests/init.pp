# submitd, from its Debian package.
#
#   class { 'submitd':
#     hostname     => 'submit.example.org',
#     ldap_servers => ['ldap://ldap1.example.org', 'ldaps://ldap2.example.org'],
#     ldap_base    => 'ou=people,dc=example,dc=org',
#     domains      => ['example.org'],
#     contact      => 'postmaster@example.org',
#   }
#
# One file of settings is written. It is checked before it takes the old one's
# place, and a change is a reload: nobody is cut off.
class submitd (
  String[1]           $hostname,
  Array[String[1], 1] $ldap_servers,
  String[1]           $ldap_base,
  Array[String[1], 1] $domains,
  Optional[String]    $contact = undef,
  Optional[String]    $extra   = undef, # more of submitd.toml, as it stands
  String              $ensure  = 'installed',
) {
  $selector = "puppet-${facts['networking']['hostname']}"

  package { 'submitd':
    ensure => $ensure,
  }

  # Keys are made on the host and stay there; the records are published by hand.
  $domains.each |$domain| {
    exec { "DKIM key of ${domain}":
      command => "submitctl dkim genkey ${domain} --selector ${selector} --out /etc/submitd/dkim/${domain}.pem",
      creates => "/etc/submitd/dkim/${domain}.pem",
      path    => ['/usr/bin', '/bin'],
      require => Package['submitd'],
      before  => File['/etc/submitd/conf.d/50-puppet.toml'],
    }
  }

  file { '/etc/submitd/conf.d/50-puppet.toml':
    owner        => 'root',
    group        => 'submitd',
    mode         => '0640',
    content      => epp('submitd/settings.toml.epp', {
      'hostname'     => $hostname,
      'ldap_servers' => $ldap_servers,
      'ldap_base'    => $ldap_base,
      'domains'      => $domains,
      'contact'      => $contact,
      'selector'     => $selector,
      'extra'        => $extra,
    }),
    # Read in the place of the file that it is to replace: with all the others.
    validate_cmd => '/usr/bin/submitctl check --with %=/etc/submitd/conf.d/50-puppet.toml',
    require      => Package['submitd'],
    notify       => Service['submitd'],
  }

  service { 'submitd':
    ensure  => running,
    enable  => true,
    restart => '/bin/systemctl reload-or-restart submitd',
  }
}
