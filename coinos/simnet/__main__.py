from coinos.simnet.server import main

main()
