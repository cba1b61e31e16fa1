#!/bin/bash
# The first process of the virtual machine that scripts/stand-in-vm.sh makes: makes encrypted storage on the disk when there is none, else opens
# what is there; says on the console what it found. The record of the storage is as lost with the machine as its key: both come with it.
export PATH=/usr/bin:/usr/sbin TECHSAPO_STORAGE_DIR=/etc/storage
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm
for module in virtio_pci virtio_blk dm-crypt xts aesni-intel; do modprobe "$module"; done
printf 'the right key of this test' >/key
printf 'another' >/wrong
chmod 600 /key /wrong

if [[ -z $(blkid /dev/vda) ]]; then
  bash /bin/encrypted-storage.sh create metrics /dev/vda /data --key-file /key
  echo 'what-must-not-be-seen' >/data/written
  bash /bin/encrypted-storage.sh close metrics
  bash /bin/encrypted-storage.sh status
  bash /bin/encrypted-storage.sh open metrics --key-file /wrong || echo 'the wrong key: refused'
  bash /bin/encrypted-storage.sh open metrics --key-file /key
  bash /bin/encrypted-storage.sh create other /dev/vda /other --key-file /key || echo 'a disk that holds something: refused'
  cat /data/written
  echo 'and-more-of-it' >>/data/written
  sync
  echo 'ready to lose power'
  sleep 600
else
  mkdir -p "$TECHSAPO_STORAGE_DIR"
  printf 'luks\n/dev/vda\n/data\n' >"$TECHSAPO_STORAGE_DIR/metrics"
  bash /bin/encrypted-storage.sh open metrics --key-file /key
  while read -r line; do echo "kept: $line"; done </data/written
  bash /bin/encrypted-storage.sh status
  bash /bin/encrypted-storage.sh close metrics
fi
echo 'this is the end'
echo o >/proc/sysrq-trigger
sleep 60
